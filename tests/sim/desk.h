/* The keeper of a box: the inside of box.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct box;

void desk_start(struct box *box);
/* It dies: its address goes with it, then all that it held of the links. */
void desk_end(struct box *box);
void desk_turn(struct box *box);
uint64_t desk_next_ms(const struct box *box);
/* The daemon reads what the keeper has said. */
void desk_tell(struct box *box);
/* The daemon is gone: addresses first, then the links. */
void desk_let_go(struct box *box);
/* Does it hold a duplicate of this end of a link? */
bool desk_guards(void *owner, int number);
