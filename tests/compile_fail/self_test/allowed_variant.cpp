// expect: two devices
static_assert(sizeof(int) == 0, "two devices");
int main() {}
