package android.security.keystore;

import java.security.spec.AlgorithmParameterSpec;

/** Keeps what a key is asked to be, for the Keystore that the tests play. */
public class KeyGenParameterSpec implements AlgorithmParameterSpec {
    private final Builder asked;

    private KeyGenParameterSpec(Builder asked) {
        this.asked = asked;
    }

    public String getKeystoreAlias() { return asked.alias; }
    public int getPurposes() { return asked.purposes; }
    public String[] getBlockModes() { return asked.modes; }
    public String[] getEncryptionPaddings() { return asked.paddings; }
    public int getKeySize() { return asked.bits; }

    public static class Builder {
        private final String alias;
        private final int purposes;
        private String[] modes = {};
        private String[] paddings = {};
        private int bits;

        public Builder(String alias, int purposes) {
            this.alias = alias;
            this.purposes = purposes;
        }

        public Builder setBlockModes(String... modes) {
            this.modes = modes;
            return this;
        }

        public Builder setEncryptionPaddings(String... paddings) {
            this.paddings = paddings;
            return this;
        }

        public Builder setKeySize(int bits) {
            this.bits = bits;
            return this;
        }

        public KeyGenParameterSpec build() {
            return new KeyGenParameterSpec(this);
        }
    }
}
