// expect: two devices
#ifndef RETORT_OK
static_assert(sizeof(int) == 0, "something else");
#endif
int main() {}
