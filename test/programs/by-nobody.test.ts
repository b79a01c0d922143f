import { describePrograms } from './matrix-run.ts';

describePrograms('nobody with FUSE');
