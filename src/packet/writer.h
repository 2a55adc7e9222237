/* Appending rare packets to a GByteArray: the body is written first, the fixed header goes before
 * it when its length is known. Private to packet. */
#pragma once

#include "packet/packet.h"

/* Begins a packet; returns where, for packet_finish. */
guint packet_begin(GByteArray *to);
/* Puts type, flags and remaining length before what was appended since. */
void packet_finish(GByteArray *to, guint from, uint8_t type, uint8_t flags);

void append_u8(GByteArray *to, uint8_t value);
void append_u16(GByteArray *to, uint16_t value);
void append_varint(GByteArray *to, uint32_t value);
void append_raw(GByteArray *to, struct bytes bytes);
/* With its length in front. */
void append_sized(GByteArray *to, struct bytes bytes);
/* The length and the block; NULL is an empty one. */
void append_properties(GByteArray *to, const struct properties_builder *properties);
