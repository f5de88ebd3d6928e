#ifndef RETORT_OK
static_assert(sizeof(int) == 0, "two devices");
#endif
int main() {}
