// `import css from "./style.css" with { type: "text" }`: the bundler puts the text into the executable.
declare module "*.css" {
  const text: string;
  export default text;
}
