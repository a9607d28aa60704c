/** A name that can be called: nothing else is put into a program. */
export const entryPattern = /^[A-Za-z_$][\w$]*$/;
