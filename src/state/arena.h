/* Memory for what lives as long as one command is applied: taken from blocks, given back all at
 * once. Serves protobuf-c as its allocator. What one command can take is bounded by its record
 * (STATE_RECORD_BYTES_MAX). Pure. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

struct arena_block;

struct arena {
    ProtobufCAllocator allocator; /* hand over &arena->allocator */
    struct arena_block *blocks;   /* the newest first; the last one stays for ever */
};

void arena_init(struct arena *arena);
void arena_deinit(struct arena *arena);
/* Aligned to 16 bytes; valid until the reset. */
void *arena_take(struct arena *arena, size_t size);
void arena_reset(struct arena *arena);
