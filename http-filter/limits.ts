// Limits that are told before a filter is made.

/** Most conditions of one filter. */
export const MAX_CONDITIONS = 64;
