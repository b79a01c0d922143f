// Objects of the API as they come over the line: the types of the Kubernetes library, and what it has no types for.

import type {
  V1Container,
  V1ContainerStateTerminated,
  V1ContainerStatus,
  V1Job,
  V1LabelSelector,
  V1ObjectMeta,
  V1Pod,
  V1PodSpec,
  V1SelfSubjectAccessReview,
  V1Service,
} from '@kubernetes/client-node';

/**
 * The library turns an answer into objects of its classes, with all the code of the API; what it would have read is this: times
 * as text, and names without the underscore that it puts before words of the language. Every field but a name may be missing, as
 * from any other version of the API.
 */
export type Wire<T> = T extends Date
  ? string
  : T extends readonly (infer Item)[]
    ? readonly Wire<Item>[]
    : T extends object
      ? { readonly [Key in keyof T as Key extends 'name' ? never : Unescaped<Key>]?: Wire<T[Key]> } & Named<T>
      : T;
type Unescaped<Key> = Key extends `_${infer Name}` ? Name : Key;
type Named<T> = { readonly [Key in keyof T as Key extends 'name' ? Key : never]: T[Key] };

export type ObjectMeta = Wire<V1ObjectMeta>;
export type Container = Wire<V1Container>;
export type ContainerStatus = Wire<V1ContainerStatus>;
export type Terminated = Wire<V1ContainerStateTerminated>;
export type LabelSelector = Wire<V1LabelSelector>;
export type Job = Wire<V1Job>;
export type PodSpec = Wire<V1PodSpec>;
export type AccessReview = Wire<V1SelfSubjectAccessReview>;
export type Pod = Wire<V1Pod> & { readonly metadata: ObjectMeta };
export type Service = Wire<V1Service> & { readonly metadata: ObjectMeta };

/** Of any kind, those of other people's definitions (Rollout) among them. */
export interface Workload {
  readonly metadata: ObjectMeta;
  readonly spec?: {
    readonly selector?: LabelSelector;
    readonly workloadRef?: { readonly apiVersion?: string; readonly kind?: string; readonly name?: string };
  };
  readonly status?: {
    readonly replicas?: number;
    /** A rollout's: what its controller asks the scale of. */
    readonly selector?: string;
    readonly currentNumberScheduled?: number;
    readonly active?: number | readonly { readonly name?: string; readonly uid?: string }[];
  };
}

/** A list as `kubectl get` shows it (meta/v1 Table, which the library has no type for): cells instead of objects. */
export interface Table {
  readonly metadata?: { readonly continue?: string; readonly remainingItemCount?: number };
  readonly columnDefinitions?: readonly { readonly name: string }[];
  readonly rows?: readonly {
    readonly cells: readonly unknown[];
    readonly object?: { readonly metadata?: ObjectMeta } | null;
  }[];
}

export const AS_TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';
