// The environment of a child: what every program needs, and nothing that is ours.

const names = "HOME LANG LC_ALL LC_CTYPE LOGNAME PATH SHELL TERM TMPDIR TZ USER".split(" ");
// Without these a program on Windows finds neither its home nor the system.
const windowsNames =
  "APPDATA COMSPEC HOMEDRIVE HOMEPATH LOCALAPPDATA PATHEXT PROGRAMDATA PROGRAMFILES PROGRAMFILES(X86) SYSTEMDRIVE SYSTEMROOT TEMP TMP USERNAME USERPROFILE WINDIR".split(
    " ",
  );

export function childEnvironment(
  ours: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const onWindows = process.platform === "win32";
  const wanted = onWindows ? [...names, ...windowsNames] : names;
  return Object.fromEntries(
    Object.entries(ours).flatMap(([name, value]) => {
      // Windows takes any case.
      const isWanted = wanted.includes(onWindows ? name.toUpperCase() : name);
      return isWanted && value !== undefined ? [[name, value]] : [];
    }),
  );
}
