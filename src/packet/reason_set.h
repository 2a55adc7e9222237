/* Which reason codes may stand in which packet (MQTT 5, 2.4). Private to packet. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

bool reason_is_allowed(uint8_t packet_type, uint8_t reason);
