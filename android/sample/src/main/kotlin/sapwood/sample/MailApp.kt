package sapwood.sample

import android.app.Application
import sapwood.android.AppLearner
import sapwood.android.LearnerOwner

/** Two lines are all that an app needs for its learner to train at night. */
class MailApp : Application(), LearnerOwner {
    override val learner = AppLearner(this)
}
