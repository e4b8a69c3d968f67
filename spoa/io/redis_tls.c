#include "io/redis_tls.h"

#include <stdio.h>

#ifdef GATEWAY_REDIS_TLS

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

struct redis_tls {
	SSL_CTX *ctx;
	char *host;
	bool is_address;
	int refused; /* why the certificate of the last connection was (X509_V_ERR_…), 0: it was not */
};

/* hiredis tells no more than that the connection ended. */
static int verify(X509_STORE_CTX *store, void *arg)
{
	struct redis_tls *tls = arg;
	int good = X509_verify_cert(store);

	if (good != 1)
		tls->refused = X509_STORE_CTX_get_error(store);
	return good;
}

const char *redis_tls_missing(void)
{
	return NULL;
}

enum err redis_tls_new(const char *host, const char *ca, struct redis_tls **out, char *error, size_t error_size)
{
	struct redis_tls *tls = check_calloc(1, sizeof(*tls));
	unsigned char address[sizeof(struct in6_addr)];

	*out = NULL;
	tls->host = strdup(host);
	tls->ctx = SSL_CTX_new(TLS_client_method());
	CHECK(tls->host != NULL && tls->ctx != NULL);
	tls->is_address = inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
	SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(tls->ctx, verify, tls);
	int good = SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION);
	if (good == 1)
		good = ca[0] != '\0' ? SSL_CTX_load_verify_file(tls->ctx, ca)
		                     : SSL_CTX_set_default_verify_paths(tls->ctx);
	if (good != 1) {
		unsigned long code = ERR_peek_last_error();
		const char *why = ERR_reason_error_string(code);
		snprintf(error, error_size, "%s: %s", ca[0] != '\0' ? ca : "the system's authorities",
		         why != NULL ? why : "cannot be read as PEM");
		ERR_clear_error();
		redis_tls_free(tls);
		return ERR_INVALID;
	}
	*out = tls;
	return ERR_OK;
}

void redis_tls_free(struct redis_tls *tls)
{
	if (tls == NULL)
		return;
	SSL_CTX_free(tls->ctx);
	free(tls->host);
	free(tls);
}

enum err redis_tls_begin(struct redis_tls *tls, struct redisContext *c)
{
	SSL *ssl = SSL_new(tls->ctx);

	/* The name is that of the setting, which hiredis never sees. Its own context would check no name at all. */
	int good = ssl != NULL;
	if (good == 1 && tls->is_address)
		good = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), tls->host);
	else if (good == 1)
		good = SSL_set1_host(ssl, tls->host) == 1 && SSL_set_tlsext_host_name(ssl, tls->host) == 1;
	tls->refused = 0;
	/* What hiredis has taken over it frees with the connection, what it has not is freed here. */
	if (good == 1 && redisInitiateSSL(c, ssl) == REDIS_OK)
		return ERR_OK;
	if (c->privctx == NULL)
		SSL_free(ssl);
	ERR_clear_error();
	return ERR_CRYPTO;
}

const char *redis_tls_refused(const struct redis_tls *tls)
{
	return tls->refused != 0 ? X509_verify_cert_error_string(tls->refused) : NULL;
}

#else

const char *redis_tls_missing(void)
{
	return "this build cannot speak TLS to Redis: its hiredis is older than 1.0 (Debian 12 has 0.14); put stunnel "
	       "or HAProxy in between, and see docs/tls.md";
}

enum err redis_tls_new(const char *host, const char *ca, struct redis_tls **out, char *error, size_t error_size)
{
	(void)host;
	(void)ca;
	*out = NULL;
	snprintf(error, error_size, "%s", redis_tls_missing());
	return ERR_UNSUPPORTED;
}

void redis_tls_free(struct redis_tls *tls)
{
	(void)tls;
}

enum err redis_tls_begin(struct redis_tls *tls, struct redisContext *c)
{
	(void)tls;
	(void)c;
	return ERR_UNSUPPORTED;
}

const char *redis_tls_refused(const struct redis_tls *tls)
{
	(void)tls;
	return NULL;
}

#endif
