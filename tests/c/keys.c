/* What opens a store: a passphrase, or a key store of the program's, which forgets for good. */
#include <string.h>

#include "check.h"

/* Keys of 32 bytes by epoch, in memory. What it seals is the secret, changed by the key, and a sum:
 * no cipher, but enough to tell whether a key is the right one. */
struct key_store {
    uint8_t key[8][32];
    int there[8];
    int made;
    /* What every function answers, if not 0. */
    int32_t answer;
    size_t length;
};

static int32_t create_epoch(uint64_t epoch, void *user) {
    struct key_store *store = user;
    if (store->answer) return store->answer;
    CHECK(epoch > 0 && epoch < 8);
    store->there[epoch] = 1;
    memset(store->key[epoch], 40 + ++store->made, 32);
    return SAPWOOD_KEYS_DONE;
}

static uint8_t sum(const uint8_t *bytes) {
    uint8_t sum = 7;
    for (int n = 0; n < 32; n++) sum = (uint8_t)(sum * 31 + bytes[n]);
    return sum;
}

static int32_t wrap(uint64_t epoch, const uint8_t *secret, uint8_t *wrapped, size_t *length,
                    void *user) {
    struct key_store *store = user;
    if (store->answer) return store->answer;
    for (int n = 0; n < 32; n++) wrapped[n] = secret[n] ^ store->key[epoch][n];
    wrapped[32] = sum(secret);
    *length = store->length;
    return SAPWOOD_KEYS_DONE;
}

static int32_t unwrap(uint64_t epoch, const uint8_t *wrapped, size_t length, uint8_t *secret,
                      void *user) {
    struct key_store *store = user;
    if (store->answer) return store->answer;
    if (!store->there[epoch] || length != 33) return SAPWOOD_KEYS_PERMANENT;
    for (int n = 0; n < 32; n++) secret[n] = wrapped[n] ^ store->key[epoch][n];
    return sum(secret) == wrapped[32] ? SAPWOOD_KEYS_DONE : SAPWOOD_KEYS_PERMANENT;
}

static int32_t destroy_epoch(uint64_t epoch, void *user) {
    struct key_store *store = user;
    if (store->answer) return store->answer;
    store->there[epoch] = 0;
    memset(store->key[epoch], 0, 32);
    return SAPWOOD_KEYS_DONE;
}

/* What opening says, and that it names a way out. */
static void refused(const sapwood_config *config, int32_t status, const char *advice) {
    sapwood_learner *none = NULL;
    char text[256];
    CHECK(sapwood_open(config, &none) == status && none == NULL);
    sapwood_last_error(text, sizeof text);
    CHECK(strstr(text, advice) != NULL);
}

static int32_t erasure(sapwood_learner *learner, const char *reply) {
    sapwood_deletion_receipt receipt = {.size = sizeof receipt};
    OK(sapwood_forget(learner, SAPWOOD_SCOPE_REPLY, reply, 0, 0, &receipt));
    CHECK(receipt.replies == 1);
    return (int32_t)receipt.erasure;
}

static void a_key_store(const char *folder) {
    struct key_store store = {.length = 33};
    sapwood_key_provider provider = {.size = sizeof provider, .user = &store};
    provider.create_epoch = create_epoch;
    provider.wrap = wrap;
    provider.unwrap = unwrap;
    sapwood_config config = {.size = sizeof config, .folder = folder, .context_tokens = 512};
    config.key_provider = &provider;
    refused(&config, SAPWOOD_INVALID, "destroy_epoch is NULL");
    provider.destroy_epoch = destroy_epoch;
    store.length = SAPWOOD_WRAPPED_BYTES + 1;
    refused(&config, SAPWOOD_INVALID, "correct it");
    store.length = 33;

    sapwood_learner *learner = NULL;
    OK(sapwood_open(&config, &learner));
    /* The struct was copied. */
    memset(&provider.wrap, 0, sizeof provider.wrap);
    OK(sapwood_set_consent(learner, SAPWOOD_CONSENT_GRANTED));
    sapwood_reply reply[3];
    for (int n = 0; n < 3; n++) {
        reply[n] = ask(learner, "Triage: it crashes", 2);
        sapwood_string_free(reply[n].text);
    }
    CHECK(erasure(learner, reply[0].id) == SAPWOOD_ERASURE_SHREDDED);
    CHECK(!store.there[1] && store.there[2] && kept(learner) == 2);
    /* A locked key store delays the shredding. */
    store.answer = SAPWOOD_KEYS_UNAVAILABLE;
    CHECK(erasure(learner, reply[1].id) == SAPWOOD_ERASURE_PENDING);
    CHECK(store.there[2] && kept(learner) == 1);
    sapwood_close(learner);

    provider.wrap = wrap;
    refused(&config, SAPWOOD_BUSY, "try again");
    store.answer = SAPWOOD_KEYS_DENIED;
    refused(&config, SAPWOOD_BUSY, "refused");
    store.answer = 77;
    refused(&config, SAPWOOD_INVALID, "correct it");
    store.answer = SAPWOOD_KEYS_PERMANENT;
    refused(&config, SAPWOOD_KEY, "move the folder away");
    store.answer = SAPWOOD_KEYS_DONE;
    OK(sapwood_open(&config, &learner));
    CHECK(kept(learner) == 1);
    OK(sapwood_train_slice(learner, 0, NULL, NULL));
    CHECK(!store.there[2] && store.there[3]);
    sapwood_close(learner);
}

static void a_passphrase(const char *folder) {
    sapwood_config config = {.size = sizeof config, .folder = folder, .context_tokens = 512};
    refused(&config, SAPWOOD_INVALID, "one of key, passphrase and key_provider");
    config.passphrase = "";
    refused(&config, SAPWOOD_INVALID, "passphrase is empty");
    config.passphrase = "heartwood";
    sapwood_learner *learner = NULL;
    OK(sapwood_open(&config, &learner));
    OK(sapwood_set_consent(learner, SAPWOOD_CONSENT_GRANTED));
    sapwood_reply reply = ask(learner, "Triage: it crashes", 2);
    sapwood_string_free(reply.text);
    sapwood_close(learner);
    config.passphrase = "heartwoof";
    refused(&config, SAPWOOD_KEY, "move the folder away");
    config.passphrase = "heartwood";
    OK(sapwood_open(&config, &learner));
    CHECK(erasure(learner, reply.id) == SAPWOOD_ERASURE_DELETED);
    sapwood_close(learner);
    const uint8_t key[32] = {1};
    config.key = key;
    refused(&config, SAPWOOD_INVALID, "one of key, passphrase and key_provider");
}

void keys(const char *folder) {
    char other[512];
    snprintf(other, sizeof other, "%s-keys", folder);
    a_key_store(other);
    snprintf(other, sizeof other, "%s-passphrase", folder);
    a_passphrase(other);
}
