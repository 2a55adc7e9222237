/* Collecting encoded properties for an outgoing packet. Texts and binary values longer than their
 * length field can say are cut off there by the caller's limits, which an assertion holds. */
#include "packet/property.h"
#include <assert.h>

void properties_builder_init(struct properties_builder *builder)
{
    builder->bytes = g_byte_array_new();
}

void properties_builder_deinit(struct properties_builder *builder)
{
    g_clear_pointer(&builder->bytes, g_byte_array_unref);
}

static void add(struct properties_builder *builder, const void *bytes, size_t count)
{
    if (count > 0) {
        g_byte_array_append(builder->bytes, bytes, (guint)count);
    }
}

static void add_id(struct properties_builder *builder, enum property_id id)
{
    uint8_t byte = (uint8_t)id;
    add(builder, &byte, 1);
}

static void add_sized(struct properties_builder *builder, struct bytes value)
{
    assert(value.length <= UINT16_MAX);
    uint8_t length[] = {(uint8_t)(value.length >> 8), (uint8_t)value.length};
    add(builder, length, sizeof length);
    add(builder, value.at, value.length);
}

void properties_add_byte(struct properties_builder *builder, enum property_id id, uint8_t value)
{
    add_id(builder, id);
    add(builder, &value, 1);
}

void properties_add_u16(struct properties_builder *builder, enum property_id id, uint16_t value)
{
    uint8_t bytes[] = {(uint8_t)(value >> 8), (uint8_t)value};
    add_id(builder, id);
    add(builder, bytes, sizeof bytes);
}

void properties_add_u32(struct properties_builder *builder, enum property_id id, uint32_t value)
{
    uint8_t bytes[] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                       (uint8_t)value};
    add_id(builder, id);
    add(builder, bytes, sizeof bytes);
}

void properties_add_varint(struct properties_builder *builder, enum property_id id, uint32_t value)
{
    assert(value < 1u << 28);
    add_id(builder, id);
    do {
        uint8_t byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        add(builder, &byte, 1);
        value >>= 7;
    } while (value > 0);
}

void properties_add_bytes(struct properties_builder *builder, enum property_id id,
                          struct bytes value)
{
    add_id(builder, id);
    add_sized(builder, value);
}

void properties_add_user(struct properties_builder *builder, struct bytes name, struct bytes value)
{
    add_id(builder, PROPERTY_USER);
    add_sized(builder, name);
    add_sized(builder, value);
}
