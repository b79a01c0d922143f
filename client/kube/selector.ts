// Label selectors of objects as the text that a list takes (Kubernetes: "Labels and Selectors"). Pure.

import { AppError } from '#proto/errors.ts';
import type { LabelSelector } from './objects.ts';

/** null for a selector that selects nothing or everything: neither names pods. */
export function toSelectorText(selector: LabelSelector | undefined): string | null {
  const equalities = Object.entries(selector?.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  const expressions = (selector?.matchExpressions ?? []).map(({ key, operator, values = [] }) => {
    switch (operator) {
      case 'In':
        return `${key} in (${values.join(',')})`;
      case 'NotIn':
        return `${key} notin (${values.join(',')})`;
      case 'Exists':
        return key;
      case 'DoesNotExist':
        return `!${key}`;
      default:
        throw new AppError('UNSUPPORTED', `the selector's operator ${JSON.stringify(operator)} is not known`);
    }
  });
  const all = [...equalities, ...expressions];
  return all.length === 0 ? null : all.join(',');
}
