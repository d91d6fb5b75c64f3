package androidx.work;

/** Stand-in. */
public final class WorkerParameters {}
