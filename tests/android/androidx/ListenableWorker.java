package androidx.work;

import android.content.Context;

/** Stand-in, with what the tests ask it to say. */
public abstract class ListenableWorker {
    private final Context context;
    public static int stopReasonToGive = WorkInfo.STOP_REASON_UNKNOWN;

    public ListenableWorker(Context context, WorkerParameters parameters) {
        this.context = context;
    }

    public final Context getApplicationContext() {
        return context.getApplicationContext();
    }

    public final int getStopReason() {
        return stopReasonToGive;
    }

    public abstract static class Result {
        public static final Result SUCCESS = new Result() {};
        public static final Result RETRY = new Result() {};
        public static final Result FAILURE = new Result() {};

        public static Result success() {
            return SUCCESS;
        }

        public static Result retry() {
            return RETRY;
        }

        public static Result failure() {
            return FAILURE;
        }
    }
}
