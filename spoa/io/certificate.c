#include "io/certificate.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

/* Beside numbers of errno. */
#define NOT_PEM  (-1)
#define NOT_FILE (-2)

static double tell(struct certificate *c, int why)
{
	const char *text = why == NOT_PEM    ? "no certificate in PEM is in it"
	                   : why == NOT_FILE ? "it is no file"
	                                     : strerror(why);

	if (why != c->told)
		log_warn("server.tls_certificate: %s: %s: the metrics do not tell when it expires", c->path, text);
	c->told = why;
	return NAN;
}

/* NULL without one. */
static X509 *read_first(int fd)
{
	FILE *f = fdopen(fd, "r");
	X509 *found;

	if (f == NULL) {
		close(fd);
		return NULL;
	}
	found = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	ERR_clear_error();
	return found;
}

static double read_file(struct certificate *c)
{
	struct stat st;
	struct tm tm;
	int fd = open(c->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return tell(c, errno);
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return tell(c, NOT_FILE);
	}
	X509 *certificate = read_first(fd);
	if (certificate == NULL)
		return tell(c, NOT_PEM);
	int ok = ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm);
	X509_free(certificate);
	if (!ok)
		return tell(c, NOT_PEM);
	c->told = 0;
	return (double)timegm(&tm);
}

double certificate_expires(struct certificate *c)
{
	struct stat st;

	if (c->path == NULL || c->path[0] == '\0')
		return NAN;
	if (stat(c->path, &st) != 0) {
		c->ino = 0;
		return tell(c, errno);
	}
	/* The time of the last change knows of new modes and owners, too. */
	if (c->ino == st.st_ino && c->dev == st.st_dev && c->size == st.st_size &&
	    c->changed.tv_sec == st.st_ctim.tv_sec && c->changed.tv_nsec == st.st_ctim.tv_nsec)
		return c->expires;
	c->ino = st.st_ino;
	c->dev = st.st_dev;
	c->size = st.st_size;
	c->changed = st.st_ctim;
	c->expires = read_file(c);
	return c->expires;
}
