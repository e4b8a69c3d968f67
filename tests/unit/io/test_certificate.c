/* LDFLAGS: -Wl,--wrap=log_write */
/* When a certificate ends: read from its file, again when that is another, and what is no certificate. */
#include "unit.h"

#include <math.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "io/certificate.h"

static unsigned lines;

void __wrap_log_write(enum log_level level, const char *fmt, ...);
void __wrap_log_write(enum log_level level, const char *fmt, ...)
{
	(void)fmt;
	assert_int_equal(level, LOG_WARN);
	lines++;
}

static char dir[64], path[128];
static EVP_PKEY *key;

static int setup(void **state)
{
	(void)state;
	lines = 0;
	snprintf(dir, sizeof(dir), "/tmp/gateway-unit-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/gateway.pem", dir);
	key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	return key == NULL;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	rmdir(path);
	EVP_PKEY_free(key);
	return rmdir(dir);
}

static void put_certificate(FILE *f, const char *not_after)
{
	X509 *x = X509_new();

	assert_non_null(x);
	assert_true(X509_set_version(x, 2) && X509_set_pubkey(x, key));
	assert_true(ASN1_INTEGER_set(X509_get_serialNumber(x), 1));
	assert_true(ASN1_TIME_set_string(X509_getm_notBefore(x), "20200101000000Z"));
	assert_true(ASN1_TIME_set_string(X509_getm_notAfter(x), not_after));
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	assert_true(PEM_write_X509(f, x));
	X509_free(x);
}

/* The file is another one each time, as what renews certificates makes it. */
static void write_file(const char *first, const char *second, bool key_first)
{
	char other[160];

	snprintf(other, sizeof(other), "%s.new", path);
	FILE *f = fopen(other, "w");
	assert_non_null(f);
	if (key_first)
		assert_true(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
	if (first != NULL)
		put_certificate(f, first);
	if (second != NULL)
		put_certificate(f, second);
	if (!key_first)
		assert_true(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
	fclose(f);
	assert_int_equal(rename(other, path), 0);
}

static void assert_expires(struct certificate *c, double when)
{
	assert_true(certificate_expires(c) == when);
}

static void test_the_first_one_counts(void **state)
{
	struct certificate c = { .path = path };

	(void)state;
	write_file("20270101000000Z", "20210101000000Z", false);
	assert_expires(&c, 1798761600);
	assert_expires(&c, 1798761600);
	write_file("20300101000000Z", NULL, true);
	assert_expires(&c, 1893456000);
	/* After 2049 times have another form (RFC 5280 section 4.1.2.5). */
	write_file("20510101000000Z", NULL, false);
	assert_expires(&c, 2556144000);
	assert_int_equal(lines, 0);
}

static void test_what_is_none(void **state)
{
	struct certificate none = { .path = "" }, c = { .path = path };

	(void)state;
	assert_true(isnan(certificate_expires(&none)));
	assert_int_equal(lines, 0);
	/* Each reason is told once. */
	for (int i = 0; i < 3; i++)
		assert_true(isnan(certificate_expires(&c)));
	assert_int_equal(lines, 1);
	write_file(NULL, NULL, true);
	for (int i = 0; i < 3; i++)
		assert_true(isnan(certificate_expires(&c)));
	assert_int_equal(lines, 2);
	/* It is mended, and breaks again. */
	write_file("20300101000000Z", NULL, false);
	assert_expires(&c, 1893456000);
	assert_int_equal(lines, 2);
	unlink(path);
	assert_true(isnan(certificate_expires(&c)));
	assert_int_equal(lines, 3);
}

static void test_what_is_no_file(void **state)
{
	struct certificate c = { .path = path };

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_true(isnan(certificate_expires(&c)));
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_true(isnan(certificate_expires(&c)));
	/* The same reason for both. */
	assert_int_equal(lines, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_first_one_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_none, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_file, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
