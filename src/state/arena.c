/* Bump allocation: a take moves an index; a block too small is followed by a larger one, which the
 * next reset frees again. */
#include "state/arena.h"
#include <glib.h>

#define ARENA_BLOCK_BYTES (64 * 1024)

struct arena_block {
    struct arena_block *next; /* older */
    size_t size, used;
    _Alignas(16) unsigned char memory[];
};

static void *on_alloc(void *owner, size_t size)
{
    return arena_take(owner, size);
}

static void on_free(void *owner, void *memory)
{
}

static void add_block(struct arena *arena, size_t size)
{
    struct arena_block *block = g_malloc(sizeof *block + size);
    block->next = arena->blocks;
    block->size = size;
    block->used = 0;
    arena->blocks = block;
}

void arena_init(struct arena *arena)
{
    arena->allocator =
        (ProtobufCAllocator){.alloc = on_alloc, .free = on_free, .allocator_data = arena};
    arena->blocks = NULL;
    add_block(arena, ARENA_BLOCK_BYTES);
}

static void free_down_to(struct arena *arena, const struct arena_block *last)
{
    while (arena->blocks != last) {
        struct arena_block *next = arena->blocks->next;
        g_free(arena->blocks);
        arena->blocks = next;
    }
}

void arena_deinit(struct arena *arena)
{
    free_down_to(arena, NULL);
}

void *arena_take(struct arena *arena, size_t size)
{
    size_t rounded = (size + 15) & ~(size_t)15;
    g_assert(rounded >= size);
    if (rounded > arena->blocks->size - arena->blocks->used) {
        add_block(arena, MAX(rounded, ARENA_BLOCK_BYTES));
    }
    void *memory = arena->blocks->memory + arena->blocks->used;
    arena->blocks->used += rounded;
    return memory;
}

void arena_reset(struct arena *arena)
{
    struct arena_block *oldest = arena->blocks;
    while (oldest->next) {
        oldest = oldest->next;
    }
    free_down_to(arena, oldest);
    oldest->used = 0;
}
