// Where a scripted login ends before its end.

export class Stop extends Error {
  readonly step: string;
  readonly fix: string;

  constructor(step: string, message: string, fix: string) {
    super(message);
    this.name = "Stop";
    this.step = step;
    this.fix = fix;
  }
}

export const stopAt = (step: string, message: string, fix: string): Stop =>
  new Stop(step, message, fix);
