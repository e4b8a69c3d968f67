/* The codes of a verdict (verdict.def): their numbers, and what stands for them in answers, metrics and logs. */
#pragma once

#define VERDICT(code, name, status, detail) VERDICT_##code,
enum verdict_code {
#include "policy/verdict.def"
	VERDICT_COUNT
};
#undef VERDICT

/* The code's name, its HTTP status, and the sentence that the client gets. */
const char *verdict_name(enum verdict_code code);
int verdict_status(enum verdict_code code);
const char *verdict_detail(enum verdict_code code);
