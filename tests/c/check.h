/* What the tests in C have in common. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "sapwood.h"

extern int checks;

#define CHECK(what)                                                                \
    do {                                                                           \
        checks++;                                                                  \
        if (!(what)) {                                                             \
            char text[256];                                                        \
            sapwood_last_error(text, sizeof text);                                 \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #what, text);  \
            exit(1);                                                               \
        }                                                                          \
    } while (0)
#define OK(call) CHECK((call) == SAPWOOD_OK)

/* A reply to a request, without streaming. */
sapwood_reply ask(sapwood_learner *learner, const char *request, uint32_t max_tokens);

/* How many replies are kept. */
int kept(const sapwood_learner *learner);

/* keys.c: what opens a store, on folders that begin like this one. */
void keys(const char *folder);

/* capture.c: recording without a model, and export, on folders that begin like this one. */
void capture(const char *folder);

/* process.c: what a process may do to itself around a store, on folders that begin like this one. */
void process(const char *folder);

#endif
