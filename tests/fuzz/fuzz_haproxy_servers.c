/* ROOM: io */
/* HAProxy's answer to `show stat`: whatever it is, names and numbers are as promised. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "io/haproxy_servers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct haproxy_server items[HAPROXY_SERVERS_MAX];
	size_t count = 0;

	enum err err = haproxy_servers_parse(sv_from(data, size), items, &count);
	CHECK(count <= HAPROXY_SERVERS_MAX);
	for (size_t i = 0; err == ERR_OK && i < count; i++)
		CHECK(items[i].name[0] != '\0' &&
		      strspn(items[i].name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		                            "abcdefghijklmnopqrstuvwxyz0123456789._-") == strlen(items[i].name));
	return 0;
}
