/// `"\(error)"` says what happened and what to do, in English for developers. It never holds what a
/// user wrote.
extension LearnerError: CustomStringConvertible {}
