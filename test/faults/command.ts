// Commands of the machine that a case cannot go on without: mount, mkfs, mkfifo.

/** Runs one to its end, in silence. @throws {Error} with what it says when it fails */
export function run(...command: string[]): void {
  const { success, stderr } = Bun.spawnSync(command, { stdout: "ignore" });
  if (!success) throw new Error(`${command.join(" ")}: ${stderr}`);
}
