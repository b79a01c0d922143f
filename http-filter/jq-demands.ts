// What a jq program demands of its input: texts without which it does not say true. Most programs of filters look for a text that
// is written in them, and looking for it in a head costs a hundredth of running them. May know less than there is, never more.

import type { JqFilter } from './jq.ts';
import { lookedTexts, requiredTexts } from './required-text.ts';

/** In lower case: by a program whose every output is true or false. */
const demands = new WeakMap<JqFilter, readonly string[]>();
/** Programs that give what one member of their input is. */
const members = new WeakSet<JqFilter>();

/** Texts in lower case that are in the input, or for an object in one of its members or names, whenever the program says true. */
export const demandedTexts = (filter: JqFilter): readonly string[] => demands.get(filter) ?? [];

function demanding(filter: JqFilter, texts: readonly string[]): JqFilter {
  if (texts.length > 0) demands.set(filter, texts);
  return filter;
}

/** Of `.name`. */
export function asMember(filter: JqFilter): JqFilter {
  members.add(filter);
  return filter;
}

const OF_TEXTS = new Set(['startswith', 'endswith', 'contains', 'has']);

/** @param argument what is written in the program, if it is */
export function demandOfFunction(filter: JqFilter, name: string, argument: unknown): JqFilter {
  return typeof argument === 'string' && OF_TEXTS.has(name) ? demanding(filter, lookedTexts(argument)) : filter;
}

export const demandOfTest = (filter: JqFilter, source: string): JqFilter => demanding(filter, requiredTexts(source));

/** @param isWhole the left side is the input itself. @param right what is written in the program, if it is */
export function demandOfEqual(filter: JqFilter, left: JqFilter, isWhole: boolean, right: unknown): JqFilter {
  const isOfText = typeof right === 'string' && (isWhole || members.has(left));
  return isOfText ? demanding(filter, lookedTexts(right)) : filter;
}

/** Of `a and b`. */
export const demandOfBoth = (filter: JqFilter, left: JqFilter, right: JqFilter): JqFilter =>
  demanding(filter, [...demandedTexts(left), ...demandedTexts(right)]);

/** Of `a | b`. */
export const demandOfPipe = (filter: JqFilter, first: JqFilter, second: JqFilter): JqFilter =>
  members.has(first) ? demanding(filter, demandedTexts(second)) : filter;
