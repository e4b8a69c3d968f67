#include "cli/key_maker.h"

const char *key_maker_take(const struct settings *s, struct admin_key_maker *maker)
{
	*maker = (struct admin_key_maker){ .pepper = s->auth_key_pepper };
	if (maker->pepper[0] == '\0')
		return "the setting auth.key_pepper (AUTH_KEY_PEPPER) is empty: keys cannot be hashed";
	if (s->auth_master_key[0] != '\0' && sealer_new(s->auth_master_key, &maker->sealer) != ERR_OK)
		return "the crypto library gives no AES-256-GCM";
	return NULL;
}
