/** What the user can do something about: one line, and the exit status. */
export class BuildError extends Error {
  constructor(message, fix, status = 1) {
    super(fix ? `${message} (${fix})` : message);
    this.status = status;
  }
}
