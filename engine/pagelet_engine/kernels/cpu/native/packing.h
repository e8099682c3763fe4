// From a checkpoint's rows to panels.
#pragma once

#include "abi.h"

// Row `row` of the job into its column; `wide` holds in_features numbers.
void pack_row(const PackJob &job, int64_t row, float *wide);
