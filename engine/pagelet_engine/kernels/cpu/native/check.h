// Whether a step's numbers lie inside what its pointers name: a wrong one is a sentence, not a fault in memory.
#pragma once

#include <string>

#include "abi.h"

// What is wrong with running the program over the step; empty: nothing. Looks at numbers alone, and only at those that
// the program reads.
std::string fault_of(const Program &program, const Step &step);
