/*
 * The usage line, which haproxy.cfg logs at the end of each request: a syslog message (RFC 5424 section 6) whose
 * structured data is, instead of SD-ELEMENTs, fields that are separated by tabs:
 *
 *     <PRI>1 TIMESTAMP HOST APP PROCID MSGID gwu1 TAB field TAB field … TAB path TAB SP human-readable message
 *
 * Six words of the header, each ended by one blank (whatever they hold), then "gwu1", and behind a tab each:
 *
 *     token  id  user  key  code  status  bytes_read  bytes_uploaded  length  head  request_length  start  active_ms
 *     response_ms  termination  backend  server  route  method  address  path
 *
 * and a tab; what follows is for people and is not looked at. "-" is a field without a value. bytes_read and
 * bytes_uploaded are HAProxy's %B and %U, length is the Content-Length of the answer as it left, head is how many bytes
 * of %B are the headers of the server's answer (absent for HAProxy's own answers), request_length the Content-Length of
 * an upload, start is the Unix time in ms at which the request was read (%Ts.%ms is when a kept connection became
 * idle), active_ms %Ta, response_ms %Tr, route is "image" or "api" (or absent).
 *
 * To the targets of its usage lines HAProxy also tells that a proxy was stopped, paused or is full (send_log() with the
 * frontend as its proxy, src/proxy.c). These messages have the facility local1, as the lines, and a severity that lines
 * never have, which are `info` or, of failed requests, `err`.
 *
 * An empty field breaks the grammar. Numbers may have a "+" in front and leading zeros; one that is too large counts as
 * the largest, one below 0 as not known, as does a status of 0. The path may hold any byte but a tab.
 */
#pragma once

#include "base/err.h"
#include "base/sv.h"
#include "usage/record.h"

/* Why a line gives no record. */
enum usage_line_reason {
	USAGE_LINE_OK = 0,
	USAGE_LINE_TOKEN,  /* without the start token: not from our HAProxy */
	USAGE_LINE_FORM,   /* not a usage line, or a field that breaks its grammar */
	USAGE_LINE_NOBODY, /* of a request whose user is not known: no record is kept of it */
	USAGE_LINE_NOTICE, /* no usage line, but HAProxy's word about itself */
	USAGE_LINE_REASONS
};

/* "token", "form", "nobody", "notice" for metrics. */
const char *usage_line_reason_name(enum usage_line_reason reason);

/* Room for what a record has that the line has not word for word (the masked, escaped path). */
struct usage_line_room {
	char path[USAGE_PATH_MAX];
};

/*
 * Reads one line, with or without CR LF at its end, and bills it (usage/bill.h). The token is compared in constant time
 * and before anything else is looked at. The record's views point into the line, and into *room. A field that is longer
 * than a record takes, or a path, is cut; other faults are USAGE_LINE_FORM.
 */
MUST_CHECK enum usage_line_reason usage_line_read(struct sv line, struct sv token, struct usage_line_room *room,
                                                  struct usage_record *out);
