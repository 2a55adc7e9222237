/* Memory for many things of one size, or one large table: taken from the system in pages of
 * POOL_CHUNK_BYTES, so that a million subscriptions need few entries of the processor's page tables
 * (huge pages are asked for once there is much) and nothing is lost between them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_CHUNK_BYTES (2u << 20)

/* Zeroed memory of the system, aligned to POOL_CHUNK_BYTES; what is never touched costs nothing.
 * `is_huge` asks for huge pages: then it costs POOL_CHUNK_BYTES with the first touch. Aborts when
 * there is none, as GLib does. pages_free needs the same `length`; NULL is fine. */
void *pages_new(size_t length, bool is_huge);
void pages_free(void *pages, size_t length);

/* Things of `size` bytes (16 at least, up to 64 KiB), aligned to 16. */
struct pool;
struct pool *pool_new(size_t size);
/* All that was taken must have been given back. NULL is fine. */
void pool_free(struct pool *pool);
/* Zeroed. */
void *pool_take(struct pool *pool);
void pool_give(struct pool *pool, void *item);
