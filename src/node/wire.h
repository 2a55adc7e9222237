/* Inside of node/: what wire.c and node.c need of each other. */
#pragma once

struct node;

/* Everything above the log is down. */
void node_stopped(struct node *node);
/* This node leads now, or another one does. */
void node_leadership_changed(struct node *node);
/* SIGHUP. */
void node_reload(struct node *node);
/* sd_notify(3), when the supervisor wants it. */
void node_notify(const char *text);
