import { describePrograms } from './matrix-run.ts';

describePrograms('nobody without FUSE');
