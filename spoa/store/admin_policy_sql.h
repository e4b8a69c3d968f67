/* The statements that write a policy; of store/admin_policy.h alone. */
#pragma once

#include "store/admin_policy.h"

/* For each kind of row: $1 is an array of JSON objects, whose members admin_policy_compare() puts together. */
extern const char *const admin_policy_rows_sql[ROWS];
