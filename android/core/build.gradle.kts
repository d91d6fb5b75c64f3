// The façade on any JVM. `build.sh jvm` makes the library and the generated sources.
plugins {
    alias(libs.plugins.kotlin.jvm)
    `java-library`
}

kotlin {
    jvmToolchain(17)
    sourceSets.main { kotlin.srcDir("generated/kotlin") }
}

dependencies {
    api(libs.coroutines.core)
    api(libs.jna)
    testImplementation(libs.junit)
    testImplementation(libs.kotlin.test)
}

tasks.test {
    // A small heap that does not grow, so that only leaks can make the process grow.
    minHeapSize = "64m"
    maxHeapSize = "64m"
    systemProperty("jna.library.path", file("generated").path)
}
