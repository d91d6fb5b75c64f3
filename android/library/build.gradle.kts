// The AAR. `build.sh` makes the native libraries and the generated sources.
plugins {
    alias(libs.plugins.android.library)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = "sapwood.android"
    compileSdk = 36

    defaultConfig {
        minSdk = 26
        consumerProguardFiles("consumer-rules.pro")
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    sourceSets["main"].apply {
        jniLibs.srcDir("generated/jniLibs")
        // The façade itself and not the module `core`, whose generated half is for other JVMs.
        kotlin.srcDirs("../core/src/main/kotlin", "generated/kotlin")
    }
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    api(libs.coroutines.android)
    // The AAR has the native half; the plain jar, which is for desktops, must not come along.
    api(libs.jna) { artifact { type = "aar" } }
    implementation(libs.annotation)
    implementation(libs.work)
}
