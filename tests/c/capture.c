/* Recording in a program that has no model, beside one that has; and all that is kept, handed over. */
#include <string.h>

#include "check.h"

#define CONVERSATION "0123456789abcdef0123456789abcdef"

struct found {
    int samples;
    uint32_t signals;
    char conversation[33];
    char reply_id[33];
};

static int32_t look(const sapwood_sample *sample, void *user) {
    struct found *found = user;
    found->samples++;
    found->signals += sample->signals;
    CHECK(strcmp(sample->reply, "Fine, Tuesday then.") == 0);
    CHECK(strcmp(sample->edited, "Tuesday is fine.") == 0);
    strcpy(found->conversation, sample->conversation);
    strcpy(found->reply_id, sample->reply_id);
    return 0;
}

static int32_t reply(const sapwood_capture *capture, const char *adapter, char reply_id[33]) {
    sapwood_message turn = {.size = sizeof turn, .role = SAPWOOD_ROLE_USER, .content = "Tuesday?"};
    sapwood_shown shown = {.size = sizeof shown, .surface = "mail", .turns = &turn, .count = 1};
    shown.reply = "Fine, Tuesday then.";
    shown.conversation = CONVERSATION;
    shown.adapter = adapter;
    return sapwood_capture_reply(capture, &shown, reply_id);
}

/* What a process without a model records; `learner` is the one beside it. */
static void record(const sapwood_config *config, sapwood_learner *learner, char id[33]) {
    sapwood_capture *capture = NULL;
    uint32_t consent = 9;
    OK(sapwood_capture_open(config, &capture));
    OK(sapwood_capture_consent(capture, &consent));
    CHECK(consent == SAPWOOD_CONSENT_UNASKED);
    OK(reply(capture, NULL, id));
    CHECK(id[0] == 0);

    OK(sapwood_set_consent(learner, SAPWOOD_CONSENT_GRANTED));
    OK(reply(capture, "", id));
    CHECK(strlen(id) == 32);
    OK(sapwood_capture_signal(capture, id, SAPWOOD_SIGNAL_EDITED, "Tuesday is fine.", 0));
    OK(sapwood_capture_flush(capture));
    char none[33];
    CHECK(reply(capture, "no digest", none) == SAPWOOD_INVALID);
    CHECK(sapwood_capture_signal(capture, CONVERSATION, SAPWOOD_SIGNAL_ACCEPTED, NULL, 0) ==
          SAPWOOD_NOT_FOUND);
    CHECK(sapwood_capture_reply(capture, NULL, none) == SAPWOOD_INVALID);
    CHECK(sapwood_capture_flush(NULL) == SAPWOOD_INVALID);
    sapwood_capture_close(capture);
    sapwood_capture_close(NULL);
}

static void hand_over(sapwood_learner *learner, const char *folder) {
    sapwood_exported exported = {.size = sizeof exported};
    OK(sapwood_export(learner, folder, &exported));
    CHECK(exported.turns == 1 && exported.adapters == 0 && exported.unreadable_records == 0);
    CHECK(sapwood_export(learner, folder, NULL) == SAPWOOD_STORAGE);
    char name[600], text[4096] = "";
    snprintf(name, sizeof name, "%s/turns.json", folder);
    FILE *file = fopen(name, "r");
    CHECK(file != NULL && fread(text, 1, sizeof text - 1, file) > 0);
    fclose(file);
    CHECK(strstr(text, "Tuesday is fine.") != NULL);
}

void capture(const char *folder) {
    char store[512], exported[512];
    snprintf(store, sizeof store, "%s-capture", folder);
    snprintf(exported, sizeof exported, "%s-exported", folder);
    const uint8_t key[32] = {5};
    sapwood_config config = {.size = sizeof config, .folder = store, .context_tokens = 512};
    config.key = key;
    sapwood_learner *learner = NULL;
    OK(sapwood_open(&config, &learner));
    char id[33];
    record(&config, learner, id);
    /* The learner takes in what the other one recorded. */
    struct found found = {0};
    OK(sapwood_signal(learner, id, SAPWOOD_SIGNAL_ACCEPTED, NULL, 0));
    OK(sapwood_samples(learner, look, &found));
    CHECK(found.samples == 1 && found.signals == 2);
    CHECK(strcmp(found.reply_id, id) == 0 && strcmp(found.conversation, CONVERSATION) == 0);
    hand_over(learner, exported);

    char *path = NULL;
    CHECK(sapwood_import_model("no such file", exported, SAPWOOD_TAKE_COPY, &path) == SAPWOOD_MODEL);
    CHECK(sapwood_import_model("no such file", exported, 7, &path) == SAPWOOD_INVALID && path == NULL);

    const char *never = "00000000000000000000000000000000ffffffffffffffffffffffffffffffff";
    OK(sapwood_refuse(learner, never));
    CHECK(sapwood_refuse(learner, "short") == SAPWOOD_INVALID);
    OK(sapwood_confirm_base(learner));
    sapwood_close(learner);
}
