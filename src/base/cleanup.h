/* Scope-bound cleanup for C: `_cleanup_(x_freep) struct x *x = x_new();` and ownership transfer. */
#pragma once

#include <stddef.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

/* Hands the value of a pointer variable over and leaves NULL behind, so that its cleanup does
 * nothing. */
#define TAKE(pointer)                                                                              \
    ({                                                                                             \
        __typeof__(pointer) taken_ = (pointer);                                                    \
        (pointer) = NULL;                                                                          \
        taken_;                                                                                    \
    })

/* Defines NAME_freep() for use with _cleanup_; `function` must take NULL. */
#define DEFINE_CLEANUP(type, function)                                                             \
    static inline void function##p(type *pointer)                                                  \
    {                                                                                              \
        if (*pointer) {                                                                            \
            function(*pointer);                                                                    \
        }                                                                                          \
    }

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
