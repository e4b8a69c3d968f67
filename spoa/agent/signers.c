#include "agent/signers.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "policy/sealed.h"

#define WAYS 4
#define SETS 1024

/* A key is rotated under another id, but a row may be written anew: the tag says that the sealed bytes are the same. */
struct entry {
	uint64_t id; /* 0: free */
	uint8_t tag[SEALED_TAG];
	struct imgurl_key key;
};

struct set {
	unsigned next; /* the way that is replaced next */
	struct entry ways[WAYS];
};

struct signers {
	struct sealer *sealer; /* NULL: without a master key */
	struct set sets[SETS];
};

enum err signers_new(const char *master_hex, struct signers **out)
{
	struct signers *s = check_calloc(1, sizeof(*s));
	enum err err = master_hex[0] != '\0' ? sealer_new(master_hex, &s->sealer) : ERR_OK;

	if (err != ERR_OK) {
		signers_free(s);
		return err;
	}
	*out = s;
	return ERR_OK;
}

void signers_free(struct signers *s)
{
	if (s == NULL)
		return;
	sealer_free(s->sealer);
	OPENSSL_cleanse(s, sizeof(*s));
	free(s);
}

const struct imgurl_key *signers_get(struct signers *s, uint64_t id, const struct policy_key *key)
{
	const struct sv sealed = policy_key_signing(key);
	struct set *set = &s->sets[id % SETS];
	struct signing_key opened;

	if (s->sealer == NULL || sealed.n != SEALED_SIZE || id == 0)
		return NULL;
	const char *tag = sealed.p + SEALED_SIZE - SEALED_TAG;
	for (size_t i = 0; i < WAYS; i++)
		if (set->ways[i].id == id && memcmp(set->ways[i].tag, tag, SEALED_TAG) == 0)
			return &set->ways[i].key;
	if (sealer_open(s->sealer, id, (const uint8_t *)sealed.p, &opened) != ERR_OK)
		return NULL;
	struct entry *e = &set->ways[set->next];
	set->next = (set->next + 1) % WAYS;
	enum err err = imgurl_key_init(&e->key, opened.key, SIGNING_SIZE, opened.salt, SIGNING_SIZE);
	OPENSSL_cleanse(&opened, sizeof(opened));
	/* Without an id nobody finds what may be half made. */
	e->id = err == ERR_OK ? id : 0;
	memcpy(e->tag, tag, SEALED_TAG);
	return err == ERR_OK ? &e->key : NULL;
}
