/* A gateway on an edge box: reads requests line by line, answers them, and learns from what its
 * users do with the answers. Speaks lines on standard input and output, so that inetd, systemd's
 * socket activation or socat put it on a port.
 *
 *   gateway FOLDER KEY_FILE [MODEL.gguf]
 *
 *   ask TEXT        the answer as it comes, then "= ID ADAPTER" on a line of its own
 *   edit ID TEXT    the user sent this instead
 *   accept ID       the user sent the answer as it was
 *   train SECONDS   lends time to learn; says what came of it
 *   adapters        what was learned
 *   rollback        takes the latest adapter back
 *   quit
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sapwood.h"

static void complain(const char *what) {
    char text[256];
    sapwood_last_error(text, sizeof text);
    printf("! %s: %s\n", what, text);
}

static int32_t show(const char *text, void *user) {
    (void)user;
    fputs(text, stdout);
    /* A client that went away ends the answer. */
    return fflush(stdout) == EOF;
}

static void ask(sapwood_learner *learner, const char *text) {
    sapwood_chat *chat = NULL;
    sapwood_reply reply = {.size = sizeof reply};
    if (sapwood_chat_open(learner, "gateway", NULL, NULL, 0, &chat) != SAPWOOD_OK ||
        sapwood_respond(chat, text, NULL, NULL, show, NULL, &reply) != SAPWOOD_OK) {
        complain("ask");
    } else {
        printf("\n= %s %s\n", reply.id, reply.adapter[0] ? reply.adapter : "base");
        sapwood_string_free(reply.text);
    }
    sapwood_chat_close(chat);
}

static void train(sapwood_learner *learner, const char *seconds) {
    sapwood_slice_report report = {.size = sizeof report};
    uint64_t budget_ms = strtoull(seconds, NULL, 10) * 1000;
    if (sapwood_train_slice(learner, budget_ms, NULL, &report) != SAPWOOD_OK) {
        complain("train");
    } else {
        printf("= %s\n", report.summary);
    }
}

static int32_t list(const sapwood_adapter_info *adapter, void *user) {
    (void)user;
    printf("%s %u examples%s\n", adapter->adapter, adapter->examples,
           adapter->in_force ? " in force" : "");
    return 0;
}

static int read_key(const char *path, uint8_t key[32]) {
    FILE *file = fopen(path, "rb");
    size_t bytes = file ? fread(key, 1, 32, file) : 0;
    if (file) fclose(file);
    return bytes == 32;
}

/* Cuts the first word off a line. */
static char *rest_of(char *line) {
    char *space = strchr(line, ' ');
    if (!space) return line + strlen(line);
    *space = 0;
    return space + 1;
}

static void obey(sapwood_learner *learner, char *line) {
    char *rest = rest_of(line);
    int32_t status = SAPWOOD_OK;
    if (strcmp(line, "ask") == 0) {
        ask(learner, rest);
    } else if (strcmp(line, "edit") == 0) {
        char *text = rest_of(rest);
        status = sapwood_signal(learner, rest, SAPWOOD_SIGNAL_EDITED, text, 0);
    } else if (strcmp(line, "accept") == 0) {
        status = sapwood_signal(learner, rest, SAPWOOD_SIGNAL_ACCEPTED, NULL, 0);
    } else if (strcmp(line, "train") == 0) {
        train(learner, rest);
    } else if (strcmp(line, "adapters") == 0) {
        status = sapwood_adapters(learner, list, NULL);
    } else if (strcmp(line, "rollback") == 0) {
        status = sapwood_rollback(learner, NULL);
    } else {
        printf("! unknown: %s\n", line);
    }
    if (status != SAPWOOD_OK) complain(line);
    fflush(stdout);
}

int main(int count, char **arguments) {
    uint8_t key[32];
    if (count < 3 || !read_key(arguments[2], key)) {
        fprintf(stderr, "usage: gateway FOLDER KEY_FILE [MODEL.gguf]\n"
                        "KEY_FILE holds 32 random bytes: head -c 32 /dev/urandom > KEY_FILE\n");
        return 2;
    }
    if (sapwood_abi_version() != SAPWOOD_ABI_VERSION) {
        fprintf(stderr, "the library is of another version than sapwood.h\n");
        return 1;
    }
    sapwood_config config = {.size = sizeof config, .folder = arguments[1], .key = key};
    config.model = count > 3 ? arguments[3] : NULL;
    sapwood_learner *learner = NULL;
    if (sapwood_open(&config, &learner) != SAPWOOD_OK) {
        complain("open");
        return 1;
    }
    /* Whoever runs the gateway has asked its users. */
    sapwood_set_consent(learner, SAPWOOD_CONSENT_GRANTED);
    /* A box in a cupboard: plugged in, and idle whenever somebody says "train". */
    sapwood_device_state device = {.size = sizeof device, .charging = 1, .idle = 1};
    sapwood_device_changed(learner, &device);

    char line[8192];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\r\n")] = 0;
        if (strcmp(line, "quit") == 0) break;
        if (line[0]) obey(learner, line);
    }
    sapwood_close(learner);
    return 0;
}
