/* What `microcloud doctor` looks at inside the daemon. Inside of api/. */
#pragma once

#include "api/request.h"

/* A row; advice only counts where it is not well. */
void doctor_add(struct text_value *list, const char *check, bool is_well, const char *found,
                const char *advice);
/* Are the other nodes there, are they as near as the settings take them to be, and do the clocks
 * agree? */
void doctor_check_nodes(struct text_value *list, const struct api *api);

/* Can all that could come to lead hold the virtual IPs? Nothing while none is set. */
void doctor_check_holders(struct text_value *list, const struct api *api);

/* The election timeout for ways that take so long: ten of the usual round trips, since a message
 * that is lost on the way comes only after several, and five of the longest, within what the
 * setting allows. */
uint32_t doctor_election_ms(int64_t round_trip_us, int64_t round_trip_us_max);
