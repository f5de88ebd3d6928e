# Writes every complete program (a ```cpp block with an "int main(") of the Markdown files given to a file of its own:
# OUT/<file's path with _ for />_<number>.cpp. The compiler's messages name the Markdown file and line.
FNR == 1 {
  number = 0
  inside = 0
  name = FILENAME
  sub(/\.md$/, "", name)
  if (index(name, root "/") == 1) name = substr(name, length(root) + 2)
  gsub(/[^A-Za-z0-9]/, "_", name)
}
/^```cpp/ { inside = 1; text = ""; first_line = FNR + 1; next }
/^```/ && inside {
  inside = 0
  if (text ~ /int main\(/) {
    ++number
    printf "#line %d \"%s\"\n%s", first_line, FILENAME, text >(out "/" name "_" number ".cpp")
  }
  next
}
inside { text = text $0 "\n" }
