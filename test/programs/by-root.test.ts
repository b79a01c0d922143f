import { describePrograms } from './matrix-run.ts';

describePrograms('root');
