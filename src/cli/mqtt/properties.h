/* `-D COMMAND NAME VALUE [VALUE]`: MQTT 5 properties given on the command line. */
#pragma once

#include "cli/mqtt/options.h"

/* For the option table: how many words one -D takes; 0 = wrong. */
int mqtt_properties_count_words(char **words, int left);
/* One -D, its words joined by CLI_WORDS_DELIMITER, into the builder of its command. */
int mqtt_properties_add(struct mqtt_target *target, const char *joined, GError **error);
