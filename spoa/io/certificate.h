/*
 * Until when the certificate of a PEM file is good, for a metric: looked at when asked, read again only when the file
 * is another one. Of several certificates in it the first counts, the server's own; a private key in it is passed over.
 */
#pragma once

#include <sys/types.h>
#include <time.h>

struct certificate {
	const char *path; /* borrowed; "" or NULL: there is none */
	/* The file that was read last. */
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec changed;
	double expires;
	int told; /* of what a line was logged */
};

/*
 * The end of its validity (notAfter, RFC 5280 section 4.1.2.5) in Unix time; NAN when it is not known: there is no
 * path, the file cannot be read, or is none with a certificate at its front. The reason is logged once, and again when
 * it is another. Reads a file; never waits for one that is no plain file.
 */
double certificate_expires(struct certificate *c);
