/* How much of the process stands in memory. */
#pragma once

/* Lets go of the pages of code and constants: most were needed for something rare, as starting is,
 * and will hardly be needed again. The others come back from the page cache as they are used, which
 * costs less than a millisecond in all. */
void footprint_trim(void);
