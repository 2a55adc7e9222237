/* See pool.h. A chunk is found from an item by its alignment; it begins with its own list of free
 * items. Chunks with room stand in `open`, full ones in none; an empty one is given back to the
 * system unless it is the only one with room. */
#include "base/pool.h"
#include "base/list.h"
#include <assert.h>
#include <glib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, length)
#define ASAN_UNPOISON_MEMORY_REGION(at, length)
#endif

/* From so many chunks on huge pages are worth what they may waste. */
#define HUGE_FROM_CHUNKS 3

struct item {
    struct item *next;
};

struct chunk {
    struct list link; /* in pool.open while there is room */
    struct item *free;
    uint32_t fresh; /* offset of what was never taken */
    uint32_t used;  /* items */
};

struct pool {
    struct list open;
    size_t size;
    uint32_t chunks;
};

void *pages_new(size_t length, bool is_huge)
{
    size_t whole = length + POOL_CHUNK_BYTES;
    uint8_t *from = mmap(NULL, whole, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (from == MAP_FAILED) {
        g_error("no memory for %zu bytes", length);
    }
    size_t before = (POOL_CHUNK_BYTES - (uintptr_t)from % POOL_CHUNK_BYTES) % POOL_CHUNK_BYTES;
    uint8_t *pages = from + before;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), used = (length + page - 1) / page * page;
    if (before > 0) {
        munmap(from, before);
    }
    if (whole - before > used) {
        munmap(pages + used, whole - before - used);
    }
    if (is_huge) {
        madvise(pages, used, MADV_HUGEPAGE); /* a wish: without it all works too */
    }
    return pages;
}

void pages_free(void *pages, size_t length)
{
    if (pages) {
        munmap(pages, length);
    }
}

struct pool *pool_new(size_t size)
{
    struct pool *pool = g_new0(struct pool, 1);

    assert(size <= 65536);
    list_init(&pool->open);
    pool->size = (MAX(size, sizeof(struct item)) + 15) / 16 * 16;
    return pool;
}

static struct chunk *chunk_new(struct pool *pool)
{
    struct chunk *chunk = pages_new(POOL_CHUNK_BYTES, pool->chunks >= HUGE_FROM_CHUNKS);

    chunk->fresh = (sizeof *chunk + 15) / 16 * 16;
    list_init(&chunk->link);
    list_append(&pool->open, &chunk->link);
    pool->chunks++;
    return chunk;
}

static void chunk_free(struct pool *pool, struct chunk *chunk)
{
    list_remove(&chunk->link);
    ASAN_UNPOISON_MEMORY_REGION(chunk, POOL_CHUNK_BYTES); /* others will have it */
    pages_free(chunk, POOL_CHUNK_BYTES);
    pool->chunks--;
}

void pool_free(struct pool *pool)
{
    if (!pool) {
        return;
    }
    while (!list_is_empty(&pool->open)) {
        chunk_free(pool, list_entry(pool->open.next, struct chunk, link));
    }
    assert(pool->chunks == 0);
    g_free(pool);
}

void *pool_take(struct pool *pool)
{
    struct chunk *chunk = list_is_empty(&pool->open)
                              ? chunk_new(pool)
                              : list_entry(pool->open.next, struct chunk, link);
    struct item *item = chunk->free;

    if (item) {
        chunk->free = item->next;
        ASAN_UNPOISON_MEMORY_REGION(item, pool->size);
        memset(item, 0, pool->size);
    } else {
        item = (struct item *)(void *)((uint8_t *)chunk + chunk->fresh);
        chunk->fresh += (uint32_t)pool->size;
    }
    chunk->used++;
    if (!chunk->free && chunk->fresh + pool->size > POOL_CHUNK_BYTES) {
        list_remove(&chunk->link);
    }
    return item;
}

void pool_give(struct pool *pool, void *pointer)
{
    uint8_t *at = pointer;
    struct chunk *chunk = (struct chunk *)(void *)(at - (uintptr_t)at % POOL_CHUNK_BYTES);
    struct item *item = pointer;

    item->next = chunk->free;
    chunk->free = item;
    chunk->used--;
    ASAN_POISON_MEMORY_REGION(item + 1, pool->size - sizeof *item);
    bool is_open = !list_is_empty(&chunk->link);
    if (!is_open) {
        list_append(&pool->open, &chunk->link);
    }
    bool is_last_with_room = pool->open.next == &chunk->link && chunk->link.next == &pool->open;
    if (chunk->used == 0 && !is_last_with_room) {
        chunk_free(pool, chunk);
    }
}
