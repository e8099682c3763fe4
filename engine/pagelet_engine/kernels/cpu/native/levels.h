// Which instruction sets this build has and this CPU can execute.
#pragma once

#include <vector>

#include "run.h"

// Best first. Nothing here can be executed wrongly: a level is listed only when CPU and kernel support all of it.
const std::vector<const Level *> &usable_levels();
